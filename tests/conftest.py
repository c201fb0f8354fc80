"""Where the fixtures come from, and the order of the tests."""

LONG = {"flawed", "hostile", "browser"}  # fixtures


def pytest_collection_modifyitems(items):
    """Whole runs and what a browser shows come first: a long test at the end would leave the other cores without work."""
    items.sort(key=lambda item: LONG.isdisjoint(item.fixturenames))


def pytest_configure(config):
    """Fixtures of all tests. The process that only hands tests out to others does not wait for what they import."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("shared.fixtures")
