"""Metadata of images at the level of bytes: JPEG segments, ISO boxes, XMP, colour code points, GeoTIFF."""
