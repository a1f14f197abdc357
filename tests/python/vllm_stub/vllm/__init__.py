"""The few names of vLLM that its attention backends are written against, so that Pagoda's can be tested
where vLLM cannot be installed: the abstract classes, and nothing that computes."""
