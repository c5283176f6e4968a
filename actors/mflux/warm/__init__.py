"""Workers that load a model once and draw job after job."""
