//! Services as processes of their own.
