"""A federation on several machines: keys, certificates, processes and checks, from a small YAML file a machine."""
