"""The recurrent example: physiotherapy exercises, classified by smartwatch motion."""
