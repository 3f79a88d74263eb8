use super::{
    super::{Analysis, Handshake, MAX_LINEAGES},
    caches::{Fifo, Shmcb},
    world::{Random, Returns, TOLERANCE, World},
};

#[test]
fn prediction_holds_for_constant_returns() {
    let world = World::new(3_000, Returns::Constant(200.0), 7_200.0);
    world.compare(&[256, 1_024, 2_048, 4_096, 16_384], &[60, 300, 600, 1_800]);
}

#[test]
fn prediction_holds_for_exponential_returns() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    world.compare(&[256, 1_024, 2_048, 4_096, 16_384], &[60, 300, 600, 1_800]);
}

#[test]
fn prediction_holds_for_heavy_tailed_returns() {
    let world = World::new(3_000, Returns::HeavyTailed(60.0), 7_200.0);
    world.compare(&[256, 1_024, 2_048, 4_096, 16_384], &[60, 300, 600, 1_800]);
}

#[test]
fn prediction_holds_for_clients_of_several_kinds() {
    let world = World::new(6_000, Returns::Mixed(600.0), 7_200.0);
    world.compare(&[512, 1_024, 2_048, 5_793, 8_192], &[300, 600, 1_800]);
}

#[test]
fn prediction_holds_between_the_sizes_of_the_grid() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    world.compare(&[300, 850, 1_300, 1_700, 5_000], &[300, 1_800]);
}

#[test]
fn prediction_holds_for_the_caches_of_apache() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    let analysis = world.analyse();
    for size in [1_024, 2_048, 4_096] {
        for lifetime in [300, 1_800] {
            let mut cache = Shmcb::new(size as usize, f64::from(lifetime));
            world.expect(&analysis, &mut cache, size, lifetime);
        }
    }
}

#[test]
fn prediction_holds_for_sessions_that_are_used_once() {
    let world = World {
        single_use: true,
        ..World::new(3_000, Returns::Exponential(400.0), 7_200.0)
    };
    world.compare(&[512, 2_048, 4_096, 8_192, 16_384], &[300, 1_800]);
}

#[test]
fn prediction_includes_sessions_that_are_removed() {
    let world = World {
        unclean: 0.3,
        ..World::new(2_000, Returns::Exponential(200.0), 7_200.0)
    };
    world.compare(&[512, 1_024, 8_192], &[300, 1_800]);
}

#[test]
fn the_sample_is_bounded_and_represents_all_clients() {
    let world = World::new(60_000, Returns::Exponential(1_200.0), 7_200.0);
    let analysis = world.analyse();
    assert!(analysis.is_sampled());
    assert_eq!(analysis.lineages(), MAX_LINEAGES);
    for (size, lifetime) in [(8_192, 600), (32_768, 1_800), (65_536, 1_800)] {
        let mut cache = Fifo::new(size as usize, f64::from(lifetime));
        world.expect(&analysis, &mut cache, size, lifetime);
    }
    let alive = analysis.alive() as f64;
    // All that returned within 300 seconds and had to be stored anew.
    assert!((10_000.0..17_000.0).contains(&alive), "{alive}");
}

#[test]
fn an_analysis_of_a_million_sessions_fits_into_four_mebibytes() {
    let mut random = Random(3);
    let mut analysis = Analysis::new(0);
    let mut sessions = vec![0; 100_000];
    for handshake in 0..1_000_000_u64 {
        let session = &mut sessions[(handshake % 100_000) as usize];
        let offered = (*session != 0).then_some(*session);
        *session = random.next();
        analysis.record(&Handshake {
            time_ns: handshake * 1_000_000,
            offered,
            stored: Some(*session),
            may_be_evicted: true,
            ..Handshake::default()
        });
    }
    assert_eq!(analysis.lineages(), MAX_LINEAGES);
    let bytes = analysis.memory();
    assert!(bytes <= 4 << 20, "{bytes}");
}

#[test]
fn offers_show_the_size_of_the_cache() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    for size in [300, 700, 1_000] {
        let mut analysis = world.begin();
        let reached = world.run(&mut Fifo::new(size, 300.0), Some(&mut analysis));
        let (found, at_least) = analysis.cache_size().unwrap();
        assert!(!at_least);
        assert!((found / size as f64 - 1.0).abs() < 0.1, "{size}: {found}");
        let measured = analysis.measured();
        let predicted = measured.predicted_hit_ratio.unwrap();
        assert!(
            (predicted - reached).abs() < TOLERANCE,
            "{predicted} {reached}"
        );
        assert!((measured.hit_ratio.unwrap() - reached).abs() < TOLERANCE);
    }
    let mut analysis = world.begin();
    world.run(&mut Fifo::new(100_000, 300.0), Some(&mut analysis));
    assert!(analysis.cache_size().unwrap().1);
}
