"""Who may ask: the command line, the configuration, and what a running gateway is made of."""
