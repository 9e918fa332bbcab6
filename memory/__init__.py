"""The archive: everything an investigation thought and read, and the relevant part of it back."""
