use super::*;
use optrode::nn::{Embedding, Form, Layout, Linear};

fn linear(out: usize, inputs: usize, dtype: DType) -> Linear {
    Linear {
        weight: noise(&[out, inputs], 1).to_dtype(dtype).unwrap(),
        bias: Some(noise(&[out], 2)),
        layout: Layout::OutIn,
    }
}

fn transposed(l: &Linear) -> Linear {
    Linear { weight: l.weight.t().unwrap().contiguous().unwrap(), layout: Layout::InOut, ..l.clone() }
}

#[test]
fn layouts_forms_and_storage_agree() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let l = linear(33, 70, dtype);
        for rows in [1, 2, 3, 4, 5, 64, 65] {
            let x = noise(&[1, rows, 70], 3);
            let exact = Linear { weight: l.weight.to_dtype(DType::F64).unwrap(), ..l.clone() };
            let exact = exact.forward(&x.to_dtype(DType::F64).unwrap(), Form::Differentiable).unwrap();
            for form in [Form::Differentiable, Form::Inference] {
                assert_close(&l.forward(&x, form).unwrap(), &exact, 1e-6);
                assert_close(&transposed(&l).forward(&x, form).unwrap(), &exact, 1e-6);
            }
        }
    }
}

#[test]
fn few_rows_do_not_depend_on_threads_or_each_other() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let l = linear(500, 300, dtype);
        let x = noise(&[3, 300], 4);
        let all = assert_thread_free(|| l.forward(&x, Form::Inference).unwrap());
        let one = l.forward(&x.narrow(0, 1, 1).unwrap(), Form::Inference).unwrap();
        assert_eq!(bits(&all.narrow(0, 1, 1).unwrap()), bits(&one));
    }
    let (l, x) = (linear(500, 300, DType::F32), noise(&[90, 300], 4));
    assert_thread_free(|| l.forward(&x, Form::Inference).unwrap());
}

#[test]
fn gradients_match_differences() {
    for layout in [Layout::OutIn, Layout::InOut] {
        let weight = if layout == Layout::OutIn { [3, 5] } else { [5, 3] };
        assert_gradients(&[noise(&[2, 2, 5], 5), noise(&weight, 6), noise(&[3], 7)], |v| {
            let l = Linear { weight: v[1].clone(), bias: Some(v[2].clone()), layout };
            l.forward(&v[0], Form::Differentiable)
        });
    }
}

#[test]
fn a_wrong_width_is_named() {
    let message = linear(3, 5, DType::F32).forward(&noise(&[2, 4], 1), Form::Inference).unwrap_err().to_string();
    assert!(message.contains("[.., 5]") && message.contains("[2, 4]"), "{message}");
}

#[test]
fn embedding_takes_rows_and_has_a_gradient() {
    let table = noise(&[7, 4], 8);
    let ids = Tensor::new(&[[2u32, 0], [6, 2]], &Device::Cpu).unwrap();
    let forward = |table: &Tensor| Embedding { table: table.clone() }.forward(&ids);
    let rows = forward(&table.to_dtype(DType::BF16).unwrap()).unwrap();
    assert_eq!((rows.dims(), rows.dtype()), (&[2, 2, 4][..], DType::F32));
    assert_close(&rows.get(1).unwrap().get(0).unwrap(), &table.get(6).unwrap(), 4e-3);
    assert_gradients(&[table], |v| forward(&v[0]));
}
