//! The disk tier, and what an engine has on it, on a folder in memory that fails and crashes as told.

mod bit_rot;
mod capacity;
mod content;
mod crash;
mod crashes;
mod faults;
mod faulty_folder;
mod format;
mod history;
mod kit;
mod model;
mod promotions;
mod purge_model;
mod purges;
mod races;
