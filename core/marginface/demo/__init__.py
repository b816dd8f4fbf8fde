"""The demo: procedural faces, a training run on them, and a page that shows what was learned."""
