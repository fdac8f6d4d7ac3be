"""A scene cut into patches: windows, polygons, damage masks."""
