//! Many clusters, some of them bad.

mod workers;
