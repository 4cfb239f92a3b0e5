//! Reading and writing bytes: the formats below images, without knowing what an image is.

pub mod tar;
