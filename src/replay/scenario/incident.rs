//! From what is typed of an incident to what it means.

use super::document::{Above, IncidentDocument};
use super::{Incident, IncidentKind};
use crate::config::document::values::Flag;
use crate::config::problem::nearest;
use crate::config::read::{At, Reader};

/// Whom an incident may befall.
pub(super) struct Befallen<'d> {
    pub(super) name: &'d str,
    pub(super) is_local: bool,
    pub(super) has_limits: bool,
}

/// The incident that `typed` means, which befalls one of `names`.
pub(super) fn incident(
    reader: &Reader<'_>,
    typed: &At<IncidentDocument>,
    names: &[Befallen<'_>],
) -> Option<Incident> {
    let number = |found: &Option<At<Above>>| found.as_ref().map(|found| found.0);
    let flag = |found: &Option<At<Flag>>| found.as_ref().is_some_and(|found| found.0);
    let kinds: Vec<IncidentKind> = [
        number(&typed.slow).map(IncidentKind::Slow),
        flag(&typed.down).then_some(IncidentKind::Down),
        number(&typed.limit_cut).map(IncidentKind::LimitCut),
        number(&typed.price).map(IncidentKind::Price),
        number(&typed.wrong_usage).map(IncidentKind::WrongUsage),
        number(&typed.slow_stream).map(IncidentKind::SlowStream),
        typed.error_inside.as_ref().map(|share| IncidentKind::ErrorInside(share.0)),
        flag(&typed.restart).then_some(IncidentKind::Restart),
    ]
    .into_iter()
    .flatten()
    .collect();
    let [kind] = kinds.as_slice() else {
        let message = format!("an incident needs one thing that goes wrong, not {}", kinds.len());
        let help = "one of slow, down, limit_cut, price, wrong_usage, slow_stream, error_inside, restart";
        reader.error(typed.spot, &message, Some(help.to_owned()));
        return None;
    };
    let (Some(route), Some(from), Some(to)) = (&typed.route, &typed.from, &typed.to) else {
        for key in ["route", "from", "to"] {
            reader.missing(typed.spot, &[key], &format!("`{key}` is missing here"), None);
        }
        return None;
    };
    let Some(befallen) = names.iter().find(|befallen| *befallen.name == *route.0) else {
        let known = || names.iter().map(|befallen| befallen.name);
        let help = match nearest(&route.0, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
        };
        reader.error(route.spot, &format!("there is no route `{}`", route.0), Some(help));
        return None;
    };
    if from.0 >= to.0 {
        reader.error(from.spot, "`from` must be before `to`", None);
    }
    match kind {
        IncidentKind::Restart if !befallen.is_local => {
            reader.error(route.spot, "only the local node is restarted", Some("use `down`".to_owned()));
        }
        IncidentKind::LimitCut(_) if !befallen.has_limits => {
            reader.error(route.spot, &format!("`{}` has no limit to cut", route.0), None);
        }
        _ => {}
    }
    Some(Incident { route: route.0.to_string(), from: from.0, to: to.0, kind: *kind })
}
