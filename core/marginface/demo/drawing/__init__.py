"""The demo's faces: people, drawn from nothing but numbers."""
