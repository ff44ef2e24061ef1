select exists(select from {schema}.api_key)
