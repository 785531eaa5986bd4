"""The page at `/`: plain HTML, one style sheet, a few lines of script; nothing from elsewhere, no build step."""

from chainstrata.dashboard.page import add_dashboard

__all__ = ["add_dashboard"]
