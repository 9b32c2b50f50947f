//! temporary
#![allow(missing_docs)]
use std::sync::OnceLock;
pub fn get(cell: &'static OnceLock<f64>, name: &str, default: f64) -> f64 {
    *cell.get_or_init(|| std::env::var(name).ok().and_then(|x| x.parse().ok()).unwrap_or(default))
}
#[macro_export]
macro_rules! knob {
    ($name:literal, $d:expr) => {{
        static C: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
        $crate::routing::knob::get(&C, $name, $d as f64)
    }};
}
