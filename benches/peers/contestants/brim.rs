//! Brim as it comes, with one thread.

use super::{Setting, Stage, Who};
use crate::process::Recipe;
use crate::rows::Found;

/// Little beside what is asked for, and a quarter of it still more than the largest object.
const SMALL_MEMORY_MIB: usize = 8;
const DISK_MIB: usize = 2048;

pub(super) fn recipe(setting: &Setting, who: Who) -> Recipe {
    let Setting { stage: Stage { origin, .. }, plain, tls, admin, .. } = setting;
    let memory = match setting.stage.row.found {
        Found::OnDisk => SMALL_MEMORY_MIB,
        _ => setting.memory_mib(),
    };
    let disk = match setting.stage.row.found {
        _ if who != Who::BrimWithDisk => String::new(),
        Found::AtTheOrigin => disk(setting, setting.memory_mib()),
        _ => disk(setting, DISK_MIB),
    };
    let log = if setting.stage.writes_log { &setting.in_folder("access.log") } else { "off" };
    let (certificate, key) =
        (&setting.stage.certificate.certificate, &setting.stage.certificate.key);
    let configuration = format!(
        "[server]\nhttp = [\"{plain}\"]\nhttps = [\"{tls}\"]\nadmin = \"{admin}\"\nthreads = 1\n\
         [server.tls]\nmin_version = \"1.3\"\n\
         [log]\naccess = {log:?}\nformat = \"combined\"\nlevel = \"error\"\n\
         [cache.memory]\nsize = \"{memory}MiB\"\n{disk}\
         [[certificate]]\ncert = {certificate:?}\nkey = {key:?}\n\
         [[origin]]\nname = \"origin\"\nservers = [\"http://{origin}\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"origin\"\n"
    );
    Recipe {
        arguments: vec!["run".into(), "--config".into(), setting.in_folder("brim.toml")],
        files: vec![("brim.toml", configuration)],
        ..Recipe::new(who.name(), setting.stage.brim.into(), *plain)
    }
}

fn disk(setting: &Setting, mib: usize) -> String {
    format!("[cache.disk]\npath = {:?}\nsize = \"{mib}MiB\"\n", setting.in_folder("segments"))
}
