def get_kv_cache_layout():
    return "NHD"
