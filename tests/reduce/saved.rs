//! Saved states: exact round trips, resuming, refusal of damage.

use super::laws::{assert_identical, large};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn a_saved_state_comes_back_bit_for_bit_and_goes_on(batches in batches()) {
        for spec in specs() {
            let (head, tail) = batches.split_at(batches.len() / 2);
            let mut straight = spec.build(batches[0].width).unwrap();
            head.iter().for_each(|b| straight.observe(&b.observation()).unwrap());
            let bytes = straight.to_state().to_bytes().unwrap();
            let mut resumed = Reducer::from_state(State::from_bytes(&bytes).unwrap()).unwrap();
            assert_identical(&straight.to_state(), &resumed.to_state());
            for batch in tail {
                straight.observe(&batch.observation()).unwrap();
                resumed.observe(&batch.observation()).unwrap();
            }
            assert_identical(&straight.to_state(), &resumed.to_state());
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_or_a_state_that_works(
        batches in batches(), kind in 0usize..10, at in any::<prop::sample::Index>(), byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = pass(&specs()[kind], &batches).to_state().to_bytes().unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        exercise(State::from_bytes(&bytes), &batches);
    }

    #[test]
    fn changed_numbers_are_an_error_or_a_state_that_works(
        batches in batches(), kind in 0usize..10, which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), how in 0u8..7,
    ) {
        let mut state = pass(&specs()[kind], &batches).to_state();
        let names: Vec<String> = state.arrays.keys().cloned().collect();
        let name = &names[which.index(names.len())];
        let array = state.arrays.get_mut(name).unwrap();
        fn put<T>(values: &mut [T], at: prop::sample::Index, value: T) {
            if !values.is_empty() {
                let at = at.index(values.len());
                values[at] = value;
            }
        }
        match &mut array.data {
            Data::F32(v) => put(v, at, [f32::NAN, -1e30, f32::INFINITY, 0.0, 1e30, -0.0, 1.0][how as usize]),
            Data::F64(v) => put(v, at, [f64::NAN, -1e300, f64::INFINITY, 0.0, 1e300, -1.0, 1.0][how as usize]),
            Data::U32(v) => put(v, at, [0, 1, 2, 3, u32::MAX, 1 << 16, 1 << 31][how as usize]),
            Data::U64(v) => put(v, at, [0, 1, 2, 3, u64::MAX, 1 << 53, 1 << 63][how as usize]),
        }
        exercise(Ok(state), &batches);
    }
}

/// Whatever was accepted must do everything without a panic.
fn exercise(state: optrode::Result<State>, batches: &[Batch]) {
    let Ok(mut reducer) = state.and_then(Reducer::from_state) else {
        return;
    };
    let _ = reducer.merge(reducer.clone());
    batches.iter().for_each(|b| drop(reducer.observe(&b.observation())));
    for unit in 0..reducer.width() + 1 {
        match &reducer {
            Reducer::Moments(r) => drop(r.unit(unit)),
            Reducer::Firing(r) => drop((r.rate(unit), r.of_document(unit))),
            Reducer::Top(r) => drop((r.top(unit), r.bottom(unit))),
            Reducer::Histogram(r) => drop(r.quantile(unit, 0.5)),
            Reducer::Covariance(r) => drop(r.get(unit, 0)),
            Reducer::Sample(r) => drop(r.iter().count()),
        }
    }
    reducer.to_state();
}

#[test]
fn missing_spare_and_misshapen_arrays_are_refused() {
    let batches = [large(5, 3, 1)];
    for spec in specs() {
        let state = pass(&spec, &batches).to_state();
        for name in state.arrays.keys() {
            let mut missing = state.clone();
            missing.arrays.remove(name);
            assert!(Reducer::from_state(missing).unwrap_err().to_string().contains(name.as_str()));

            let mut longer = state.clone();
            longer.arrays.get_mut(name).unwrap().shape[0] += 1;
            assert!(Reducer::from_state(longer).is_err());

            let mut huge = state.clone();
            huge.arrays.get_mut(name).unwrap().shape = vec![usize::MAX, usize::MAX];
            assert!(Reducer::from_state(huge).is_err());

            let mut other = state.clone();
            let array = other.arrays.get_mut(name).unwrap();
            let size = array.shape.iter().product();
            array.data = match array.data {
                Data::F32(_) => Data::F64(vec![0.0; size]),
                _ => Data::F32(vec![0.0; size]),
            };
            assert!(Reducer::from_state(other).is_err());
        }
        let mut spare = state.clone();
        spare.arrays.insert("spare".into(), Array { shape: vec![0], data: Data::U64(vec![]) });
        assert!(Reducer::from_state(spare).unwrap_err().to_string().contains("spare"));

        for width in [0, 4, usize::MAX] {
            let mut wrong = state.clone();
            wrong.header.width = width;
            assert!(Reducer::from_state(wrong).is_err(), "{width}");
        }
        let mut newer = state;
        newer.header.version += 1;
        assert!(Reducer::from_state(newer).is_err());
    }
}

#[test]
fn a_specification_survives_json() {
    for spec in specs() {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ReducerSpec>(&text).unwrap(), spec, "{text}");
    }
    let schema = serde_json::to_string(&schemars::schema_for!(ReducerSpec)).unwrap();
    assert!(schema.contains("one_per_document"));
}
