"""Networks: what a config's ``model`` builds. Constructors check values and are cheap; ``build`` makes the weights."""
