//! Methods: functions from a network, data and parameters to a result that can be stored, shown and compared.

pub mod doctor;
pub mod tasks;
