"""What the emulator serves: the APIs of the platform, and its own."""
