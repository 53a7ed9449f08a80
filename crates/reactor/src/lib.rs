//! ropewalk
