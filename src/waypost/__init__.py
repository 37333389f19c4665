"""Waypost: from an app's own Postgres to recommendations that are served, scaled and watched."""

__version__ = "0.1.0"
