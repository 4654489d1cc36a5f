//! Matrix products inside slices, for kernels that work on parts of tensors where they lie.

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    /// From the first element on.
    pub values: &'a [f32],
    /// Elements between neighbours of a column.
    pub row: usize,
    /// Elements between neighbours of a row.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// Rows that lie `row` elements apart.
    pub fn rows(values: &'a [f32], row: usize) -> Self {
        Self { values, row, column: 1 }
    }

    /// Rows and columns exchanged.
    pub fn turned(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// out := factor a b, or out + factor a b if `add`, for a `[m, k]`, b `[k, n]` and out `[m, n]` with rows `out_row`
/// elements apart. Runs on the calling thread.
///
/// # Panics
/// If a matrix does not fit into its slice.
pub(super) fn product(
    out: &mut [f32],
    out_row: usize,
    (m, n, k): (usize, usize, usize),
    a: Matrix,
    b: Matrix,
    factor: f32,
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, columns: usize, row: usize, column: usize| (rows - 1) * row + (columns - 1) * column;
    assert!(k > 0 && out_row >= n && last(m, n, out_row, 1) < out.len(), "a product's result does not fit");
    assert!(last(m, k, a.row, a.column) < a.values.len(), "a product's left side does not fit");
    assert!(last(k, n, b.row, b.column) < b.values.len(), "a product's right side does not fit");
    let stride = |elements: usize| elements as isize;
    // SAFETY: the assertions keep every element that is read or written inside its slice; `out` is borrowed mutably, so
    // it overlaps neither side; rows of `out` do not overlap, since `out_row` is n at least.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride(out_row),
            add,
            a.values.as_ptr(),
            stride(a.column),
            stride(a.row),
            b.values.as_ptr(),
            stride(b.column),
            stride(b.row),
            1.0,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
