"""The clauses of the contract as pytest methods, a module to a subject; ``BackendContract`` puts them together."""
