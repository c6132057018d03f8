"""What stays warm: slots, tails, resources and the store, and how their values outlive a process."""
