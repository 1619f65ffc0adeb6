//! Varnish with one pool of threads, all on one processor. It always logs into shared memory; a file
//! is written by a program of its own, whose time counts as Varnish's.

use super::{Setting, Stage, Who};
use crate::machine::program;
use crate::process::Recipe;

pub(super) fn recipe(setting: &Setting) -> Option<Recipe> {
    let Setting { stage: Stage { origin, .. }, plain, .. } = setting;
    let instance = setting.in_folder("instance");
    let mib = setting.memory_mib();
    let parameters = [
        "thread_pools=1".to_owned(),
        // A thread for each connection, from the beginning.
        format!("thread_pool_min={}", setting.stage.row.connections.max(100) + 100),
        format!("thread_pool_max={}", setting.stage.row.connections.max(100) + 1000),
        // It would be found asleep when it has to rest.
        "ping_interval=0".to_owned(),
    ];
    let mut arguments: Vec<String> = vec!["-F".into(), "-j".into(), "none".into()];
    arguments.extend(["-n".into(), instance.clone(), "-a".into(), plain.to_string()]);
    arguments.extend(["-b".into(), origin.to_string(), "-s".into(), format!("malloc,{mib}M")]);
    for parameter in parameters {
        arguments.extend(["-p".into(), parameter]);
    }
    let companion = match setting.stage.writes_log {
        false => None,
        true => {
            let log = setting.in_folder("access.log");
            let arguments = ["-n", &instance, "-w", &log, "-t", "10"].map(Into::into).to_vec();
            Some((program("varnishncsa")?, arguments))
        }
    };
    Some(Recipe {
        version_argument: "-V",
        arguments,
        companion,
        ..Recipe::new(Who::Varnish.name(), program("varnishd")?, *plain)
    })
}
