//! Advice only where the evidence suffices.

use super::{
    super::{Advice, Analysis, Obstacle, Service, Verdict},
    caches::{Cache, Fifo, PerProcess, Shmcb},
    world::{Returns, World},
};

fn world() -> World {
    World::new(1_000, Returns::Exponential(100.0), 3_600.0)
}

fn advice(world: &World, cache: &mut dyn Cache) -> Advice {
    let mut analysis = world.begin();
    world.run(cache, Some(&mut analysis));
    of_analysis(analysis)
}

fn of_analysis(analysis: Analysis) -> Advice {
    let service = Service {
        cache: Some(Box::new(analysis)),
        ..Service::default()
    };
    service.advice()
}

fn assert_silent(advice: &Advice, obstacle: Obstacle) {
    assert_eq!(advice.obstacle, Some(obstacle));
    assert_eq!(advice.verdict, Verdict::Unknown);
    assert_eq!(advice.recommended, None);
    assert!(advice.curve.is_empty() && advice.knees.is_empty() && advice.settings.is_empty());
    assert_eq!(advice.saved_cpu_seconds_per_hour, None);
}

#[test]
fn a_small_cache_is_to_be_enlarged() {
    let advice = advice(&world(), &mut Fifo::new(300, 300.0));
    assert_eq!((advice.obstacle, advice.verdict), (None, Verdict::Change));
    let point = advice.recommended.unwrap();
    assert!((1_000..3_000).contains(&point.size), "{point:?}");
    let times = advice.times_present_size.unwrap();
    assert!(
        (times * 300.0 / point.size as f64 - 1.0).abs() < 0.1,
        "{times}"
    );
    assert_eq!(advice.settings.len(), 6);
}

#[test]
fn a_large_cache_is_sufficient() {
    for size in [5_000, 500_000] {
        let world = World {
            lifetime_s: 3_600,
            seconds: 12_000.0,
            ..world()
        };
        let advice = advice(&world, &mut Fifo::new(size, 3_600.0));
        assert_eq!(advice.obstacle, None);
        assert_eq!(advice.verdict, Verdict::Sufficient);
        assert_eq!(advice.recommended, None);
        assert!(advice.measured.size_is_lower_bound);
    }
}

#[test]
fn a_cache_that_was_never_full_needs_a_longer_lifetime_and_no_smaller_size() {
    let world = World {
        lifetime_s: 30,
        ..world()
    };
    let advice = advice(&world, &mut Fifo::new(100_000, 30.0));
    assert_eq!(advice.verdict, Verdict::Change);
    let point = advice.recommended.unwrap();
    assert!(point.lifetime_seconds >= 600, "{point:?}");
    assert!(point.size >= advice.measured.size.unwrap(), "{point:?}");
    assert_eq!(advice.times_present_size, None);
}

#[test]
fn a_service_with_tickets_alone_has_no_cache() {
    assert_silent(&Service::default().advice(), Obstacle::NoCache);
}

#[test]
fn an_observation_must_outlast_the_lifetime() {
    let world = World {
        observed_from: 3_400.0,
        ..world()
    };
    let advice = advice(&world, &mut Fifo::new(300, 300.0));
    assert_silent(&advice, Obstacle::ObservedTooBriefly);
    assert_eq!(advice.measured.predicted_hit_ratio, None);
}

#[test]
fn few_offers_are_not_sufficient() {
    let world = World {
        clients: 20,
        ..world()
    };
    let advice = advice(&world, &mut Fifo::new(300, 300.0));
    assert_silent(&advice, Obstacle::TooFewOffers);
}

#[test]
fn clients_must_return_during_the_observation() {
    let world = World {
        clients: 5_000,
        returns: Returns::Exponential(2_000.0),
        observed_from: 10_000.0,
        seconds: 11_800.0,
        ..world()
    };
    let advice = advice(&world, &mut Fifo::new(300, 300.0));
    assert_silent(&advice, Obstacle::UnknownSessions);
}

#[test]
fn misses_with_other_causes_come_first() {
    let world = World {
        other_cause: true,
        ..world()
    };
    let advice = advice(&world, &mut Fifo::new(300, 300.0));
    assert_silent(&advice, Obstacle::OtherCauses);
}

#[test]
fn a_cache_per_process_is_not_what_is_simulated() {
    let advice = advice(&world(), &mut PerProcess::new(100_000, 300.0));
    assert_silent(&advice, Obstacle::PredictionFails);
    assert_eq!(advice.measured.size, None);
}

#[test]
fn a_changed_lifetime_is_observed_anew() {
    let world = world();
    let mut analysis = world.begin();
    world.run(&mut Fifo::new(300, 300.0), Some(&mut analysis));
    let other = World {
        lifetime_s: 600,
        observed_from: world.seconds,
        seconds: world.seconds + 500.0,
        ..world
    };
    other.run(&mut Fifo::new(300, 600.0), Some(&mut analysis));
    assert_silent(&of_analysis(analysis), Obstacle::ObservedTooBriefly);
}

#[test]
fn sessions_must_have_been_resumed() {
    let world = World {
        returns: Returns::Constant(100.0),
        ..world()
    };
    let advice = advice(&world, &mut Fifo::new(300, 300.0));
    assert_silent(&advice, Obstacle::NothingResumed);
    assert_eq!(advice.measured.size, None);
}

#[test]
fn the_parts_of_the_cache_of_apache_are_one_cache() {
    let world = World {
        clients: 3_000,
        ..world()
    };
    let advice = advice(&world, &mut Shmcb::new(1_024, 300.0));
    assert_eq!((advice.obstacle, advice.verdict), (None, Verdict::Change));
}
