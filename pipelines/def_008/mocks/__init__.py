"""The mock data of DEF-008, and what makes them."""
