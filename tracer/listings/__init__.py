"""Installed source beside what it did: functions line by line, as they are on this machine."""
