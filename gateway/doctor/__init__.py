"""`hatchery doctor` and `hatchery engines`: what is here, whether it works, and what to do."""
