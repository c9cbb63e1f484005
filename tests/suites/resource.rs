//! One resource and its objects: names, keys, repair, volumes, and what the old operator left.

mod adoption;
mod keys;
mod names;
mod volumes;
