"""HTTP: the application, its routes, access, rates and connections."""
