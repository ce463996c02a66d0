"""Numbers and sounds in, pages out: one HTML file each, that loads nothing from anywhere."""
