//! `rootfs:` a bare root file system tar as a one-layer image: the source of `import`.
//!
//! It unpacks nothing: the tar becomes the layer as it is, after its headers were read.
