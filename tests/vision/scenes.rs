//! The synthetic images.

use optrode::data::scenes::{Atom, SIDE, Scenes};

#[test]
fn scenes_are_a_function_of_seed_and_number() {
    let (few, many) = (Scenes::draw(3, 5), Scenes::draw(6, 5));
    assert_eq!(few.images.pixels, many.images.pixels[..few.images.pixels.len()]);
    assert_ne!(few.images.pixels, Scenes::draw(3, 6).images.pixels);
}

#[test]
fn every_object_is_seen_where_it_is_said_to_be() {
    let scenes = Scenes::draw(200, 2);
    for (i, objects) in scenes.objects.iter().enumerate() {
        assert!((1..=3).contains(&objects.len()));
        let owner = &scenes.owner[i * SIDE * SIDE..][..SIDE * SIDE];
        for (k, object) in objects.iter().enumerate() {
            let own: Vec<usize> = (0..SIDE * SIDE).filter(|at| usize::from(owner[*at]) == k + 1).collect();
            assert!(own.len() >= 20, "scene {i}: {object:?} has {} pixels", own.len());
            let half = SIDE / 2;
            let left = own.iter().filter(|at| *at % SIDE < half).count();
            assert_eq!(object.is(Atom::Left), left * 2 > own.len());
            let top = own.iter().filter(|at| *at / SIDE < half).count();
            assert_eq!(object.is(Atom::Top), top * 2 > own.len());
            assert_eq!(Atom::ALL.iter().filter(|a| object.is(**a)).count(), 5);
        }
    }
}

#[test]
fn every_atom_is_common() {
    let scenes = Scenes::draw(500, 0);
    for atom in Atom::ALL {
        let share = (0..500).filter(|i| scenes.shows(*i, atom)).count() as f64 / 500.0;
        assert!((0.15..0.85).contains(&share), "{}: {share}", atom.word());
    }
}
