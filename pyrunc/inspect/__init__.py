"""What people are told of configurations, containers and this machine: validate, audit, doctor, metrics. All cold."""
