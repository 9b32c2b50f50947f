//! What holds for every wish, whatever the routes, the policies and the moment.

use proptest::prelude::*;
use tollway::routing::learn::prefix::Held;
use tollway::routing::{
    Exclusion, Model, Objective, Quantile, RequestFacts, RouteId, RouteOutlook, Wants, decide,
};
use tollway::units::TokenPrice;

use super::properties::{
    NOW, every_figure_is_a_number, everyone_is_asked_or_left_out_once, outlook, policy, routes,
};

/// What a caller asks for.
#[derive(Debug, Clone)]
struct Wish {
    only: Vec<&'static str>,
    ignore: Vec<&'static str>,
    order: Vec<&'static str>,
    unheeded: Vec<usize>,
    no_fallbacks: bool,
    across_models: bool,
    input_max: Option<u64>,
    objective: Option<Objective>,
    models_at: usize,
}

fn wish() -> impl Strategy<Value = Wish> {
    let names = || prop::sample::subsequence(vec!["p0", "p1", "p2", "p3"], 0..=4);
    let few = || prop_oneof![3 => Just(Vec::new()), 1 => names()];
    let objectives = vec![Objective::Cost, Objective::Latency, Objective::Throughput];
    (
        (few(), few(), names().prop_shuffle()),
        prop::sample::subsequence((0..20).collect::<Vec<usize>>(), 0..3),
        (prop::bool::weighted(0.3), prop::bool::weighted(0.3)),
        prop::option::weighted(0.3, 100_000..2_000_000_u64),
        prop::option::of(prop::sample::select(objectives)),
        0..20_usize,
    )
        .prop_map(
            |(
                (only, ignore, order),
                unheeded,
                (no_fallbacks, across_models),
                input_max,
                objective,
                models_at,
            )| Wish {
                only,
                ignore,
                order,
                unheeded,
                no_fallbacks,
                across_models,
                input_max,
                objective,
                models_at,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whoever is asked, policies would have let in without a wish: under the policy that decides, and under the one that
    /// would decide for its model alone. And every wish that rules out holds for whoever is asked.
    #[test]
    fn wishes_never_widen(
        routes in routes(),
        seen in prop::collection::vec(outlook(), 20),
        policies in prop::collection::vec(policy(), 2),
        wish in wish(),
        prompt_tokens in 0..4_000_u64,
        tried in 0..3_u16,
    ) {
        let eligible: Vec<RouteId> = (0..).take(routes.len()).map(RouteId).collect();
        let (seen, held): (Vec<RouteOutlook>, Vec<Held>) = seen.into_iter().unzip();
        let tried: Vec<RouteId> = (0..tried).map(RouteId).collect();
        let models = [
            Model { name: "m", policy: &policies[0] },
            Model { name: "n", policy: &policies[1] },
        ];
        let model_of: Vec<u8> = (0..routes.len()).map(|at| u8::from(at >= wish.models_at)).collect();
        let unheeded: Vec<Option<std::sync::Arc<str>>> =
            (0..routes.len()).map(|at| wish.unheeded.contains(&at).then(|| "seed".into())).collect();
        let plain = RequestFacts {
            model: "m",
            eligible: &eligible,
            prompt_tokens,
            held: &held,
            tried: &tried,
            may_hedge: true,
            ..RequestFacts::default()
        };
        let wants = Wants {
            only: &wish.only,
            ignore: &wish.ignore,
            order: &wish.order,
            no_fallbacks: wish.no_fallbacks,
            input_price_max: wish.input_max.map(TokenPrice),
            objective: wish.objective,
            unheeded: &unheeded,
            models: &models,
            model_of: &model_of,
            across_models: wish.across_models,
            latency_max: &[Quantile { share: 0.5, value: 1.0 }],
            session: Some((0, Held { tokens: 500, age_s: 1.0 })),
            ..Wants::default()
        };
        let facts = RequestFacts { wants, ..plain };
        let wished = decide(&routes, &policies[0], &facts, &seen[..], NOW);
        everyone_is_asked_or_left_out_once(&wished, &eligible, &tried)?;
        every_figure_is_a_number(&wished)?;
        let passing = ["disabled", "rate_limited", "breaker_open", "over_cap", "full", "queue"];
        for one in &wished.order {
            let id = one.route;
            let model = usize::from(model_of[usize::from(id.0)]);
            for (policy, name) in [(0, "m"), (model, models[model].name)] {
                let alone = RequestFacts { model: name, ..plain };
                let decision = decide(&routes, &policies[policy], &alone, &seen[..], NOW);
                let why = decision.why_excluded(id).map(Exclusion::code);
                prop_assert!(why.is_none_or(|why| passing.contains(&why)), "{why:?}");
            }
            let route = &routes[usize::from(id.0)];
            let named = |list: &[&str]| list.iter().any(|name| **name == *route.provider);
            prop_assert!(wish.only.is_empty() || named(&wish.only));
            prop_assert!(!named(&wish.ignore));
            prop_assert!(!wish.no_fallbacks || wish.order.is_empty() || named(&wish.order));
            prop_assert!(!wish.unheeded.contains(&usize::from(id.0)));
            let input = route.price.as_ref().map(|card| card.rates(0, jiff::Timestamp::UNIX_EPOCH).input.0);
            prop_assert!(wish.input_max.is_none_or(|max| input.is_some_and(|input| input <= max)));
        }
        let ranks: Vec<u8> = wished.order.iter().map(|one| model_of[usize::from(one.route.0)]).collect();
        if !wish.across_models && !wished.order.iter().any(|one| one.last_resort) {
            prop_assert!(ranks.is_sorted(), "a second model before the first: {ranks:?}");
            if let Some(hedge) = wished.hedge {
                prop_assert_eq!(model_of[usize::from(hedge.route.0)], ranks[0]);
            }
        }
    }
}
