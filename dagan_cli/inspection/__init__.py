"""Look at media files: what one holds, and whether an upscaled one keeps what its source held."""
