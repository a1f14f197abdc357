# Placeholder until the install rules exist.
