"""A run on disk: settings, folder, lock, checkpoints, metrics, alarms and ranks."""
