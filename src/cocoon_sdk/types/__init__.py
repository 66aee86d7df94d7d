"""Reply types that users hold."""
