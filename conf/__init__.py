"""The composed configuration: config.yaml and one folder a group. Installed as `gapo_cli.conf`."""
