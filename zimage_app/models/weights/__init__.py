"""Weight files and how numbers are packed in them: headers, key names, packed weights and their slices."""
