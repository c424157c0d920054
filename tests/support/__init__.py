"""What tests share: sample data, servers, and ways to call the product. Holds no test."""
