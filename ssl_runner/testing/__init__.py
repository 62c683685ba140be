"""The contracts of `interfaces` as tests, for plugins as for the project itself.

    pytest --ssl-runner-plugin my_ssl

checks every option of the plugin's folder conf/. Each module holds the tests of one interface; `contract/` applies them
to the options of plugins, and the project's own tests/contract/ to its own.
"""
