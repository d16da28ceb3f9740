"""The figures of the page: functions of frames that return SVG."""
