//! Memory that tasks fill block by block, without being cleared before.

use std::marker::PhantomData;
use std::ops::Range;

/// Room for `n` numbers that nobody has written yet.
pub(super) struct Fresh {
    values: Vec<f32>,
    n: usize,
}

impl Fresh {
    pub fn new(n: usize) -> Self {
        Self { values: Vec::with_capacity(n), n }
    }

    /// The room as rows of `columns` numbers.
    pub fn sheet(&mut self, columns: usize) -> Sheet<'_> {
        Sheet {
            start: self.values.as_mut_ptr(),
            columns,
            rows: self.n.checked_div(columns).unwrap_or(0),
            room: PhantomData,
        }
    }

    /// The numbers.
    ///
    /// # Safety
    /// All `n` of them have been written.
    pub unsafe fn filled(mut self) -> Vec<f32> {
        // SAFETY: the capacity is `n` at least, and the caller has written them.
        unsafe { self.values.set_len(self.n) };
        self.values
    }
}

/// Rows of numbers of which each task writes its own part.
#[derive(Clone, Copy)]
pub(super) struct Sheet<'a> {
    start: *mut f32,
    columns: usize,
    rows: usize,
    room: PhantomData<&'a mut f32>,
}

// SAFETY: the methods that hand out parts ask of their callers that no two threads use the same one.
unsafe impl Send for Sheet<'_> {}
// SAFETY: as above.
unsafe impl Sync for Sheet<'_> {}

impl<'a> Sheet<'a> {
    /// Numbers that are there already, as rows.
    pub fn over(values: &'a mut [f32], columns: usize) -> Self {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        Self { start: values.as_mut_ptr(), columns, rows, room: PhantomData }
    }

    /// Numbers between neighbours of a column.
    pub fn row_len(&self) -> usize {
        self.columns
    }

    /// Whether there are as many rows and columns.
    pub fn holds(&self, rows: usize, columns: usize) -> bool {
        rows <= self.rows && columns <= self.columns
    }

    /// Where a place lies. Writing there is for the task that owns it.
    ///
    /// # Panics
    /// Outside the sheet.
    pub fn at(&self, row: usize, column: usize) -> *mut f32 {
        assert!(row < self.rows && column < self.columns, "({row}, {column}) lies outside a sheet");
        // SAFETY: the place is inside the room, as just asserted.
        unsafe { self.start.add(row * self.columns + column) }
    }

    /// Part of a row.
    ///
    /// # Safety
    /// It has been written, and nobody else uses it while the slice lives.
    ///
    /// # Panics
    /// Outside the sheet.
    #[expect(clippy::mut_from_ref, reason = "parts of a sheet are disjoint by the caller's promise")]
    pub unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [f32] {
        assert!(row < self.rows && columns.start <= columns.end && columns.end <= self.columns, "outside a sheet");
        // SAFETY: inside the room, written, and used by the caller alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.columns + columns.start), columns.len()) }
    }
}
